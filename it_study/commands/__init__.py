"""The commands: flags and body of each; heavy imports wait for the body."""
