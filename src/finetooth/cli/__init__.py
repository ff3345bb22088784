"""The command line: a click group that imports a command's module when the command is named, and not before."""
