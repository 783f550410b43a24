"""Config to finished run: building stages, wiring, running, and the command line."""
