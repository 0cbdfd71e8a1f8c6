"""What the commands of all studies share: the terminal, and how a report is written."""
