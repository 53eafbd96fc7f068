"""The guest's kernel: traps, sleeper hash, scheduler, tasks, hotplug."""
