"""What algorithms return: frozen, labelled, read-only records that check, print and save themselves."""
