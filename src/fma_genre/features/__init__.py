"""Features of audio: from the clips in an archive to stored spectrograms."""
