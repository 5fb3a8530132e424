"""Full-catalogue ranking metrics, statistics, yardsticks, latency and memory."""
