/** Reading machines from files (Node only). */
export {}
