"""An inference server in an environment and a process of its own: how it is installed, started and stopped."""
