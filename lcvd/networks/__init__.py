"""The networks of LCVD and the formulas around them."""
