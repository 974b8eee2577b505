"""Native code in a child process. Imports nothing of the other rooms."""
