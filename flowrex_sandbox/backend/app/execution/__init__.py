"""What happens to an order: the risk engine lets it pass or not, an adapter places it with the broker."""
