"""What the analyst looks at: the attribution dashboard of paper 003, and one page per concept trace."""
