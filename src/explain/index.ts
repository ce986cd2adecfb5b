/** Kernel logs about IOMMUs, into reports and into words. */
export * from './address.ts'
export type { KnownDevice, LogContext } from './context.ts'
export * from './explanation.ts'
export { LIKE_KERNEL_LOG, LONGEST_LINE, stripPrefixes } from './lines.ts'
export * from './parse.ts'
export * from './pci-ids.ts'
export * from './report.ts'
