"""Network layers and blocks that several published networks share."""
