"""What plugin authors test with: the simulator, the accuracy measurements and the conformance kit."""
