"""Differentiable images of heads, for the losses that compare them.

An image is made in three steps: a camera projects vertices to the screen, a rasteriser finds the faces behind each
pixel, and what is drawn is computed from these fragments, once for every rasteriser::

    screen = FRONT.project(vertices, size)
    fragments = TorchRasterizer()(screen, faces, size, perspective=FRONT.perspective)
    image = shaded_image(fragments, vertices, faces, FRONT)

===================  ====================================================================================
``cameras``          perspective and orthographic cameras around a canonical head; the usual views
``fragments``        what is behind each pixel, the ``Rasterizer`` protocol, interpolation; screen coordinates
``rasterizer``       the rasteriser in plain torch, for CPU and CUDA
``boxes``            pixels near many small things: what the rasteriser and the masks look through
``pytorch3d``        PyTorch3D's behind the same protocol, where it is importable
``shading``          shaded images, depth, normals
``masks``            hard and soft masks
``displacement``     the paper's 2D displacement
===================  ====================================================================================
"""
