"""svm.c of a hypervisor: which exits of a nested guest are whose, and the guests."""
