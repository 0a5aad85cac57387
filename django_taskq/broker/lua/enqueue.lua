#!lua
-- enqueue | keys: jobs live ready scheduled wake timer meta asks locks lapses limits gated turns events | edges: new->ready new->scheduled
--
-- Takes N jobs in. No flag: a full Redis refuses the call before anything is written.
-- ARGV: now, then per job: id, envelope, priority, due, expires_in, ask
--   due: 0 at once, > 0 a time in ms, < 0 so many ms from now; expires_in: ms or 0; ask: as
--   asks.py writes it, or ""; how long its lock stays at least is in ms from now
-- Reply: a string with a letter per job: N new, E its id existed, U another job has its lock, and
--   nothing was done; behind a space for each U the id of that job
-- Sending the call again does nothing twice: an existing id is never overwritten.

-- One job, at once, with nothing set: what most calls are. It needs none of what follows, whose
-- functions and clock would take a third of its time.
if #ARGV == 7 and ARGV[4] == '0' and ARGV[5] == '0' and ARGV[6] == '0' and ARGV[7] == '' then
  if redis.call('HSETNX', jobs, ARGV[2], ARGV[3]) == 0 then return 'E' end
  redis.call('ZADD', ready, redis.call('HINCRBY', meta, 'seq', 1), ARGV[2])
  if redis.call('LLEN', wake) == 0 then redis.call('RPUSH', wake, '1') end
  if redis.call('EXISTS', events) == 1 then
    redis.call('XADD', events, 'MAXLEN', '~', 10000, '*', 'i', ARGV[2])
  end
  return 'N'
end

-- common.lua

local letters, others = take_in(clock(ARGV[1]), ARGV, 2)
return table.concat(letters) .. (#others > 0 and ' ' .. table.concat(others, ' ') or '')
