/** Reading machines from files (Node only). */
export * from './bytes.ts'
export * from './capture.ts'
export * from './elf.ts'
export * from './errors.ts'
export * from './gzip.ts'
export * from './side.ts'
