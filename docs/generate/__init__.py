"""The reference, from the code: one module per page, each with `page()`, its Markdown."""
