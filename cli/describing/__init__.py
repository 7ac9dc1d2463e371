"""What `kctl describe` shows, in lines of text. `lines` are the pieces that every kind is made of."""
