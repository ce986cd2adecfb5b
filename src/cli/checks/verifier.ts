/** A kind of input that `iomm verify` runs. It adds itself in `registry.ts`. */
import type { RegisterOptions } from '../registers.ts'
import type { FileVerifier, Verification } from './contract.ts'

/** May need options beside the file: registers for a dump. */
export interface Verifier extends Pick<FileVerifier, 'what'> {
  accepts(path: string, options: RegisterOptions): Promise<boolean>
  open(path: string, options: RegisterOptions): Promise<Verification>
}
