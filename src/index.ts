/** The library. */
export * from './base/hex.ts'
export * from './base/layout.ts'
export * from './base/types.ts'
