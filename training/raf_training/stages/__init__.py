"""The paper's two stages: 2D supervision on rigged and unrigged heads, then 2D and 3D on rigged ones."""
