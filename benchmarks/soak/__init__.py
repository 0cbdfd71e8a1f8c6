"""An ensemble that is killed, its disk filled, its files and kernels damaged, for hours: the store must be the same."""
