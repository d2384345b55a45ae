"""How far an honest implementation may be from the reference, derived for each problem."""
