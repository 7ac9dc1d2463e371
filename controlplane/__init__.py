"""The control plane: API, scheduler, controllers and dispatcher around one store. Its parts meet only there."""
