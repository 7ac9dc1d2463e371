"""What requests mean: verbs over a transaction, field ownership, patches. Nothing here knows a wire protocol."""
