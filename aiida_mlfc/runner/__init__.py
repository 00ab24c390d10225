"""What runs on a compute node: reads a job, calls core, writes results. No AiiDA."""
