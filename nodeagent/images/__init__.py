"""Images on this node: `reference` names them, `unpack` opens layers, `archive` reads the formats, `store` keeps them."""
