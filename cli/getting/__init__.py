"""What `kctl get` reads and prints: tables that the control plane renders, or objects as documents."""
