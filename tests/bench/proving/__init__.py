"""The parts of control.py: what is to be reached, the runs, who is ahead, the pictures."""
