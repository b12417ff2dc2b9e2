"""What trips are, declared as data: columns, codes, rules, colours."""
