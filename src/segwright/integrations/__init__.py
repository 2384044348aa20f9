"""What other programs load: each module is what one of them calls a function, plug-in or backend."""
