/** Reading machines from files (Node only). */
export * from './bytes.ts'
export * from './capture.ts'
export * from './dump/contract.ts'
export * from './dump/open.ts'
export * from './elf.ts'
export * from './errors.ts'
export * from './side.ts'
export * from './unpack.ts'
