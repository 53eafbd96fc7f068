"""What a run came to: its result, published figures beside it, reports."""
