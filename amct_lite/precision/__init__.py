"""Mixed precision: the width of each layer chosen so that the least is lost within a budget, and what was chosen, measured."""
