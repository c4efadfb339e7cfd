"""`hyperfit study`: a plan of trainings, from what is missing to one report."""
