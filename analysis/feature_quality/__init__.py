"""What autoencoders are judged by beyond reconstruction: absorption, splitting, sparse probes, targeted effects."""
