"""policy: may this submission be sent. Pure decisions over facts loaded for a whole set."""
