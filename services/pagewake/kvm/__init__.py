"""L0's KVM for one VM: page table, vcpu threads, what becomes of a fault and a completion."""
