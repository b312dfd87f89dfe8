"""Several networks' jobs on one processor: what is to be done by when, and when it is done."""
