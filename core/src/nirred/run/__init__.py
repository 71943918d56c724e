"""From a plan to products: tasks executed in order, outcomes recorded; no science here."""
