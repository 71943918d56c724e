"""From a plan to products: execute tasks in order and record the outcomes."""
