"""Networks: a module of a table and one loop for each family, and the blocks that they share."""
