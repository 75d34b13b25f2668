"""Docker's first image system on this store: image graph, tag store, repository fetcher."""
