/** What a specification defines and a model never reports. Each model has such a list; everything else has a test that raises it. */
export interface NotRaised {
  readonly code: number
  readonly why: string
}
