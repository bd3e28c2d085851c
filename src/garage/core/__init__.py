"""What is true without a disk, a clock, a framework or a global."""
