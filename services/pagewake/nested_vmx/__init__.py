"""How nested VMX routes what asynchronous page faults have to do with: rules without a run."""
