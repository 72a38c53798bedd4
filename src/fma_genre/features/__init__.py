"""Feature extraction: from the clips in an archive to stored spectrograms and waveforms."""
